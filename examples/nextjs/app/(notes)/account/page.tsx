import { type User, api } from '@/lib/api';

export default async function Account() {
  const { user } = await api<{ user: User }>('/me');
  return (
    <>
      <h1>Account</h1>
      <p>
        {user.email} ({user.role})
      </p>
    </>
  );
}

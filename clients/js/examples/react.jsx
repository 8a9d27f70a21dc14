import { createClient } from 'tokengate-client';
import { AuthProvider, useAuth } from 'tokengate-client/react';

const client = createClient({ baseUrl: 'https://api.example.com' });

export function App() {
  return (
    <AuthProvider client={client}>
      <Greeting />
    </AuthProvider>
  );
}

function Greeting() {
  const { status, user, login, logout } = useAuth();
  if (status === 'unknown') return null;
  if (status === 'signed-in') return <button onClick={() => logout()}>Log out {user?.name}</button>;
  return <button onClick={() => login({ email: 'ada@example.com', password: '…' })}>Log in</button>;
}

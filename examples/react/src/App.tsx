import { useAuth } from 'tokengate-client/react';

import { type User } from './api';
import { Notes } from './Notes';
import { SecondFactor } from './SecondFactor';
import { SignIn } from './SignIn';
import { Users } from './Users';

export function App() {
  const { status, user, logout } = useAuth<User>();
  if (status === 'unknown') return null;
  if (!user) return <SignIn />;
  return (
    <main>
      <p>
        Signed in as {user.email} <button onClick={() => logout()}>Log out</button>{' '}
        <button onClick={() => logout('all')}>Log out everywhere</button>
      </p>
      <Notes />
      <SecondFactor />
      {user.role === 'admin' && <Users />}
    </main>
  );
}

import { useEffect, useState } from 'react';

import { type User, useApi } from './api';

/** For administrators: the gateway demands the role, whatever a page shows. */
export function Users() {
  const api = useApi();
  const [users, setUsers] = useState<User[]>([]);

  useEffect(() => {
    api<{ users: User[] }>('/admin/users').then(({ users }) => setUsers(users), console.error);
  }, [api]);

  return (
    <section>
      <h2>Users</h2>
      <ul>
        {users.map(({ id, email, role }) => (
          <li key={id}>
            {email} ({role})
          </li>
        ))}
      </ul>
    </section>
  );
}

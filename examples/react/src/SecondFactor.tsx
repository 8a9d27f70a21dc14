import { type FormEvent, useState } from 'react';

import { useApi } from './api';

/** Gives the secret for an authenticator app, and takes the first code of it. */
export function SecondFactor() {
  const api = useApi();
  const [secret, setSecret] = useState<string>();
  const [said, setSaid] = useState('');

  function begin() {
    api<{ secret: string }>('/me/2fa', {}).then(
      ({ secret }) => setSecret(secret),
      () => setSaid('There is one already.'),
    );
  }

  function confirm(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    api('/me/2fa/confirm', Object.fromEntries(new FormData(event.currentTarget))).then(
      () => {
        setSecret(undefined);
        setSaid('It is asked for at the next login.');
      },
      () => setSaid('That code is not right.'),
    );
  }

  return (
    <section>
      <h2>Second factor</h2>
      {secret ? (
        <form onSubmit={confirm}>
          <p>
            Secret for your authenticator app: <code>{secret}</code>
          </p>
          <label>
            First code <input name="code" required />
          </label>
          <button>Confirm</button>
        </form>
      ) : (
        <button onClick={begin}>Set up</button>
      )}
      {said && <p role="status">{said}</p>}
    </section>
  );
}

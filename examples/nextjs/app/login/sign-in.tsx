'use client';

import { type FormEvent, useState } from 'react';

/** The password, and then the code where the user has a second factor. The response sets the cookies. */
export function SignIn({ next }: { next: string }) {
  const [mfaToken, setMfaToken] = useState<string>();
  const [problem, setProblem] = useState('');

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.currentTarget));
    const isNew = ((event.nativeEvent as SubmitEvent).submitter as HTMLButtonElement).value === 'register';
    const path = mfaToken ? '/login/2fa' : isNew ? '/register' : '/login';
    setProblem('');
    try {
      const response = await fetch(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...fields, mfaToken }),
      });
      const answer = await response.json();
      if (!response.ok) setProblem(answer.detail ?? `This did not work (${response.status}).`);
      else if (answer.mfaRequired) setMfaToken(answer.mfaToken);
      // Not by the router, which may have kept pages of another user.
      else window.location.assign(next);
    } catch {
      setProblem('The server cannot be reached.');
    }
  }

  return (
    <form onSubmit={submit}>
      {mfaToken ? (
        <label>
          Code <input name="code" autoComplete="one-time-code" required />
        </label>
      ) : (
        <>
          <label>
            E-mail <input name="email" type="email" autoComplete="username" required />
          </label>
          <label>
            Password <input name="password" type="password" autoComplete="current-password" required />
          </label>
        </>
      )}
      <button>Log in</button>
      {!mfaToken && <button value="register">Register</button>}
      {problem && <p role="alert">{problem}</p>}
    </form>
  );
}

import { type FormEvent, useState } from 'react';
import { TokengateError } from 'tokengate-client';
import { useAuth } from 'tokengate-client/react';

interface Challenge {
  mfaRequired?: boolean;
  mfaToken?: string;
}

/** The password, and then the code where the user has a second factor. */
export function SignIn() {
  const { login, register } = useAuth();
  const [mfaToken, setMfaToken] = useState<string>();
  const [problem, setProblem] = useState('');

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.currentTarget));
    const isNew = ((event.nativeEvent as SubmitEvent).submitter as HTMLButtonElement).value === 'register';
    setProblem('');
    try {
      if (mfaToken) await login({ mfaToken, code: fields.code }, { path: '/login/2fa' });
      else if (isNew) await register(fields);
      // Without a second factor this signs in already.
      else setMfaToken((await login<Challenge>(fields)).mfaToken);
    } catch (error) {
      setProblem(error instanceof TokengateError ? error.message : 'The server cannot be reached.');
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

import { SignIn } from './sign-in';

export default async function Login({ searchParams }: { searchParams: Promise<{ next?: string | string[] }> }) {
  // The gateway lets no request through whose `next` leads to another host.
  const [next] = [(await searchParams).next ?? '/'].flat();
  return (
    <main>
      <h1>Log in</h1>
      <SignIn next={next || '/'} />
    </main>
  );
}

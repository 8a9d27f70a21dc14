import Link from 'next/link';
import type { ReactNode } from 'react';

import { caller } from '@/lib/api';

import { SessionWatch } from './session-watch';

export default async function NotesLayout({ children }: { children: ReactNode }) {
  const subject = await caller();
  return (
    <>
      <header>
        <nav>
          <Link href="/">Notes</Link> <Link href="/account">Account</Link>
        </nav>
        {/* The gateway's own endpoint, which needs no script. */}
        <form action="/logout" method="post">
          Signed in as {subject} <button>Log out</button>{' '}
          <button name="scope" value="all">
            Log out everywhere
          </button>
        </form>
      </header>
      <main>{children}</main>
      <SessionWatch subject={subject} />
    </>
  );
}

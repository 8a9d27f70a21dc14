'use client';

import { useEffect } from 'react';

import { currentSubject } from '@/lib/session';

/** Also where a server action ends whose session is over: a fetch is told 401, and only a navigation is sent to log in. */
export default function Problem() {
  useEffect(() => {
    currentSubject().then(
      (subject) => subject === null && window.location.reload(),
      () => {},
    );
  }, []);
  return (
    <>
      <p role="alert">This did not work.</p>
      <button onClick={() => window.location.reload()}>Try again</button>
    </>
  );
}

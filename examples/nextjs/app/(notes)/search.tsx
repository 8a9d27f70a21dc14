'use client';

import { type ChangeEvent, useRef, useState } from 'react';

import type { Note } from '@/lib/api';

/** Asks with each letter, and shows the answer to the last one. */
export function Search() {
  const [found, setFound] = useState<Note[]>();
  const [problem, setProblem] = useState('');
  const asked = useRef(0);

  async function search({ target }: ChangeEvent<HTMLInputElement>) {
    const number = ++asked.current;
    const response = await fetch(`/api/notes?${new URLSearchParams({ contains: target.value })}`);
    if (number !== asked.current) return;
    setProblem(response.ok ? '' : `This did not work (${response.status}).`);
    if (response.ok) setFound((await response.json()).notes);
  }

  return (
    <section>
      <label>
        Search <input type="search" onChange={search} />
      </label>
      {found && <output>{found.length} found</output>}
      {problem && <p role="alert">{problem}</p>}
    </section>
  );
}

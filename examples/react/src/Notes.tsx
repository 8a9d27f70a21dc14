import { type FormEvent, useEffect, useState } from 'react';

import { type Note, useApi } from './api';

export function Notes() {
  const api = useApi();
  const [notes, setNotes] = useState<Note[]>([]);

  useEffect(() => {
    api<{ notes: Note[] }>('/notes').then(({ notes }) => setNotes(notes), console.error);
  }, [api]);

  async function add(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const note = await api<Note>('/notes', Object.fromEntries(new FormData(form)));
    setNotes((notes) => [...notes, note]);
    form.reset();
  }

  return (
    <section>
      <h2>Notes</h2>
      <ul>
        {notes.map(({ id, text }) => (
          <li key={id}>{text}</li>
        ))}
      </ul>
      <form onSubmit={add}>
        <input name="text" aria-label="Note" required />
        <button>Add</button>
      </form>
    </section>
  );
}

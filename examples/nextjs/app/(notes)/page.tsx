import { type Note, api } from '@/lib/api';

import { addNote } from './actions';
import { Search } from './search';

export default async function Notes() {
  const { notes } = await api<{ notes: Note[] }>('/notes');
  return (
    <>
      <h1>Notes</h1>
      <ul>
        {notes.map(({ id, text }) => (
          <li key={id}>{text}</li>
        ))}
      </ul>
      <form action={addNote}>
        <label>
          Note <input name="text" required maxLength={200} />
        </label>
        <button>Add</button>
      </form>
      <Search />
    </>
  );
}

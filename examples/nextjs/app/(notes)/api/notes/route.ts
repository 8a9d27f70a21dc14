import type { NextRequest } from 'next/server';

import { type Note, api } from '@/lib/api';

export async function GET({ nextUrl }: NextRequest) {
  const contains = nextUrl.searchParams.get('contains') ?? '';
  const { notes } = await api<{ notes: Note[] }>('/notes');
  return Response.json({ notes: notes.filter(({ text }) => text.includes(contains)) });
}

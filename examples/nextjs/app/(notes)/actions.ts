'use server';

import { revalidatePath } from 'next/cache';

import { api } from '@/lib/api';

export async function addNote(form: FormData) {
  await api('/notes', { text: String(form.get('text')) });
  revalidatePath('/');
}

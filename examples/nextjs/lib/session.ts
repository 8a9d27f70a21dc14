/** Who the browser's cookies say is logged in, as the gateway knows it: the subject, or `null` for nobody. */
export async function currentSubject(): Promise<string | null> {
  const response = await fetch('/session', { cache: 'no-store' });
  if (response.status === 401) return null;
  if (!response.ok) throw new Error(`/session: ${response.status}`);
  return (await response.json()).subject;
}

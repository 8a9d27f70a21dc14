import { useCallback } from 'react';
import { useAuth } from 'tokengate-client/react';

export interface User {
  id: number | string;
  email: string;
  role: string;
}

export interface Note {
  id: number | string;
  text: string;
}

/** JSON from the API; with a body, by POST. */
export function useApi() {
  const { fetch } = useAuth();
  return useCallback(
    async <Answer,>(path: string, body?: object): Promise<Answer> => {
      const json = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
      const response = await fetch(path, body && json);
      if (!response.ok) throw new Error(`${path}: ${response.status}`);
      return response.json();
    },
    [fetch],
  );
}

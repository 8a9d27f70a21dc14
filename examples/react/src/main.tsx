import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { createClient } from 'tokengate-client';
import { AuthProvider } from 'tokengate-client/react';

import { App } from './App';

const client = createClient({ baseUrl: import.meta.env.VITE_API ?? 'http://127.0.0.1:8080' });

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <AuthProvider client={client}>
      <App />
    </AuthProvider>
  </StrictMode>,
);

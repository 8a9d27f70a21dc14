/** An application as React has it, in StrictMode, hydrated from what a server rendered. */

import { StrictMode, useState } from 'react';
import { hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { createClient } from 'tokengate-client';
import { AuthProvider, useAuth } from 'tokengate-client/react';

const client = createClient();

function Who() {
    const { status, user } = useAuth<{ name: string }>();
    return <p>{[status, user?.name].filter(Boolean).join(' ')}</p>;
}

function Doors() {
    const { login } = useAuth();
    return <button onClick={() => login({ email: 'ada@example.com', password: 'correct horse' })}>log in</button>;
}

function App() {
    const [generation, setGeneration] = useState(0);
    return (
        <AuthProvider client={client}>
            <Who key={generation} />
            <Doors />
            <button onClick={() => setGeneration(generation + 1)}>remount</button>
        </AuthProvider>
    );
}

const root = document.querySelector('#root')!;
const app = (
    <StrictMode>
        <App />
    </StrictMode>
);
root.innerHTML = renderToString(app);
Object.assign(window, { hydratedFrom: root.querySelector('p')!.outerHTML });
hydrateRoot(root, app);

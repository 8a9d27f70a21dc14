import { defineConfig } from 'vitest/config';

export default defineConfig({
    test: {
        projects: [
            {
                // The examples import it as applications do.
                resolve: {
                    alias: [
                        { find: /^tokengate-client$/, replacement: `${import.meta.dirname}/src/index.ts` },
                        { find: /^tokengate-client\/(\w+)$/, replacement: `${import.meta.dirname}/src/$1.ts` },
                    ],
                },
                test: {
                    name: 'unit',
                    include: ['test/unit/**/*.test.ts'],
                    environment: 'node',
                    // No clock but the simulated one is looked at; this ends what hangs.
                    testTimeout: 60_000,
                },
            },
            {
                test: {
                    name: 'browser',
                    include: ['test/browser/**/*.test.ts'],
                    environment: 'node',
                    // Real browsers, processes and clocks; the machine may be slow.
                    testTimeout: 180_000,
                    hookTimeout: 120_000,
                    maxWorkers: 2,
                },
            },
            {
                test: {
                    name: 'examples',
                    include: ['test/examples/**/*.test.ts'],
                    environment: 'node',
                    testTimeout: 180_000,
                    hookTimeout: 300_000,
                    maxWorkers: 1,
                },
            },
        ],
    },
});

import type { NextConfig } from 'next';

const config: NextConfig = {
  poweredByHeader: false,
  // There are other lock files above this folder.
  turbopack: { root: import.meta.dirname },
};

export default config;

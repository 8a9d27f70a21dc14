export function buildDemo(folder: string): Promise<void>;

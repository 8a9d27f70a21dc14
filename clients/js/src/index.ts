/** Keeps a Tokengate session alive in every tab of a browser. */

export { createClient } from './client.js';
export type { AccessTokenOptions, Client, ClientOptions, Device, LoginOptions, LogoutScope, State, Status } from './client.js';
export type { Entry, Session } from './entry.js';
export { TokengateError } from './errors.js';
export type { ErrorCode } from './errors.js';
export type { ClientEvent } from './events.js';
export type { Problem, ProblemCode } from './problems.js';
export type { Storage, StorageKind } from './storage.js';

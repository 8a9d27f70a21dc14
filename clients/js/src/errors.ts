/** Why something could not be done. */
export type ErrorCode =
    /** The session lives, but cannot be refreshed right now; try again after `retryAfter`. */
    | 'refresh_unavailable'
    /** The gateway did not confirm the logout: here it is done, there it may not be. Call `logout` again. */
    | 'logout_unconfirmed'
    /** The response's status is an error's; `problem` has its body, if that is JSON. */
    | 'refused';

export interface ErrorDetails {
    /** Of the response, if one came. */
    readonly status?: number;
    /** The response's JSON: problem+json with a `code` when the gateway made it, else whatever the API sent. */
    readonly problem?: Record<string, unknown>;
    /** Seconds to wait before the next try, if that is known. */
    readonly retryAfter?: number | undefined;
    readonly cause?: unknown;
}

/** A call of the client that failed. What the network does wrong stays the platform's own error. */
export class TokengateError extends Error {
    constructor(code: ErrorCode, message: string, details: ErrorDetails) {
        super(message);
        Object.assign(this, details, { code, name: 'TokengateError' });
    }
}

export interface TokengateError extends Omit<ErrorDetails, 'cause'> {
    readonly code: ErrorCode;
}

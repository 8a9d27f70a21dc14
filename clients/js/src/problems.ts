/** The gateway's own refusals, for those who tell them apart. */

/** Every `code` that a refusal of the gateway can have. A test compares them with the gateway's source. */
export const PROBLEM_CODES = [
    'address_refused',
    'audience_not_granted',
    'body_malformed',
    'body_timeout',
    'body_too_large',
    'certificate_expired',
    'claims_insufficient',
    'claims_unknown',
    'client_invalid',
    'client_unauthorized',
    'encoding_unsupported',
    'form_expected',
    'grant_type_unsupported',
    'internal_error',
    'issuer_keys_unavailable',
    'login_too_old',
    'media_type_unsupported',
    'metadata_missing',
    'method_not_allowed',
    'origin_refused',
    'overloaded',
    'own_endpoint',
    'rate_limited',
    'refresh_contended',
    'refresh_token_invalid',
    'refresh_token_missing',
    'request_malformed',
    'revocations_stale',
    'route_not_found',
    'scope_insufficient',
    'scope_not_granted',
    'session_not_found',
    'shutting_down',
    'signing_unavailable',
    'store_full',
    'store_unavailable',
    'subject_barred',
    'subject_token_invalid',
    'target_too_long',
    'ticket_invalid',
    'ticket_misused',
    'timed_out',
    'tls_required',
    'token_ambiguous',
    'token_expired',
    'token_invalid',
    'token_missing',
    'token_revoked',
    'token_too_large',
    'token_unusable',
    'token_without_id',
    'too_many_connections',
    'upgrade_unsupported',
    'upstream_busy',
    'upstream_failed',
    'upstream_timeout',
    'upstream_unreachable',
] as const;

export type ProblemCode = (typeof PROBLEM_CODES)[number];

/** A refusal of the gateway (RFC 9457). */
export interface Problem {
    readonly type: string;
    readonly title: string;
    readonly status: number;
    readonly code: ProblemCode;
    /** For people, in English. */
    readonly detail: string;
    /** As OAuth calls it (RFC 6749, RFC 6750), where it has a name for it. */
    readonly error?: string;
    readonly error_description?: string;
}

/** The gateway's refusal that an error of the client carries, or that is the JSON of a response; `undefined` for the API's own. */
export function problemOf(value: unknown): Problem | undefined {
    const { problem = value } = Object(value) as { problem?: unknown };
    const { code, title, detail } = Object(problem) as Partial<Problem>;
    const isProblem = (PROBLEM_CODES as readonly unknown[]).includes(code) && !!title && !!detail;
    return isProblem ? (problem as Problem) : undefined;
}

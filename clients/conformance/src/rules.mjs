/** The rules for those who write clients, word for word as the project's README has them. */
export const RULES = {
    bearer: 'Send `Authorization: Bearer …`, to the gateway alone.',
    'refresh-once':
        'On a 401 with `error="invalid_token"`, refresh once for all requests that wait for it, and repeat each of them.',
    'no-refresh': 'On any other 401, on 403 and on 503, refreshing changes nothing.',
    'definite-no':
        'Refresh returns 401 `refresh_token_invalid` (to a form, 400 `invalid_grant`) if and only if the user has to log in again.',
    'keep-and-retry':
        "On 503, 429, a timeout, a lost connection or a response that is not the gateway's, keep both tokens and retry later with the same token: the response will be the same.",
    'retry-after': 'Wait for as long as `Retry-After` says.',
    abort: 'Abort a refresh after 10 s (a third of `refresh.leeway`).',
    newest: 'If several tabs or processes refresh, keep the pair with the highest `generation`, whatever order the responses arrive in.',
    lifetime:
        'Count `expiresIn` from the receipt of the response: the clock of a device may be wrong, and `exp` in the token is not for you.',
    'no-rotation': 'If the response to a refresh has no `refreshToken`, keep the one that you have.',
    'user-first': 'A login or logout goes before a refresh that is still under way: discard its response.',
};

/** The gateway's refusals as it words them. `test/fidelity.test.mjs` compares each with the real gateway's. */

const invalid = (code, detail) => ({
    status: 401,
    code,
    detail,
    error: 'invalid_token',
    challenge: `Bearer error="invalid_token", error_description="${detail}"`,
});

const PROBLEMS = {
    token_missing: { status: 401, detail: 'This resource needs an access token.', challenge: 'Bearer' },
    token_invalid: invalid('token_invalid', 'The access token is not valid.'),
    token_expired: invalid('token_expired', 'The access token has expired.'),
    token_revoked: invalid('token_revoked', 'The access token was revoked.'),
    scope_insufficient: {
        status: 403,
        detail: 'The access token does not cover this resource.',
        error: 'insufficient_scope',
        challenge: 'Bearer error="insufficient_scope", scope="admin"',
    },
    login_too_old: {
        status: 401,
        detail: 'This resource needs a more recent login.',
        error: 'insufficient_user_authentication',
        challenge:
            'Bearer error="insufficient_user_authentication", error_description="This resource needs a more recent login.", max_age="1"',
    },
    revocations_stale: { status: 503, detail: 'Tokens cannot be vouched for right now.', retryAfter: 1 },
    store_unavailable: { status: 503, detail: 'Sessions cannot be changed right now; nothing was lost.', retryAfter: 1 },
    rate_limited: { status: 429, detail: 'Too many attempts. Tokens stay valid; try again later.', retryAfter: 1 },
    refresh_token_missing: { status: 400, detail: 'The request has no refresh token.', error: 'invalid_request' },
    refresh_token_invalid: {
        status: 401,
        detail: 'The refresh token is not valid; log in again.',
        error: 'invalid_grant',
        challenge: 'Bearer error="invalid_token"',
    },
    request_malformed: { status: 400, detail: 'The scope is one of session, others, all.', error: 'invalid_request' },
    route_not_found: { status: 404, detail: 'Nothing is served at this address.' },
};

const TITLES = {
    400: 'Bad Request',
    401: 'Unauthorized',
    403: 'Forbidden',
    404: 'Not Found',
    429: 'Too Many Requests',
    503: 'Service Unavailable',
};

export const CODES = Object.keys(PROBLEMS);

/** A refusal as a response. `retryAfter` replaces the seconds that the gateway would ask for. */
export function problem(code, { retryAfter } = {}) {
    const { status, detail, error, challenge, retryAfter: usual } = PROBLEMS[code];
    const seconds = retryAfter ?? usual;
    return {
        status,
        headers: {
            'content-type': 'application/problem+json',
            'cache-control': 'no-store',
            ...(challenge && { 'www-authenticate': challenge }),
            ...(seconds && { 'retry-after': String(seconds) }),
        },
        body: {
            type: 'about:blank',
            title: TITLES[status],
            status,
            code,
            detail,
            ...(error && { error, error_description: detail }),
        },
    };
}

/** A response of JSON that no cache may keep. */
export function json(status, body) {
    return { status, headers: { 'content-type': 'application/json', 'cache-control': 'no-store' }, body };
}

/** The form that a client of OAuth gets (RFC 6749, section 5.2). */
export function oauthForm(response) {
    const isRefused = response.body.code === 'refresh_token_invalid';
    const status = isRefused ? 400 : response.status;
    const { 'www-authenticate': challenge, ...headers } = response.headers;
    return {
        status,
        headers: {
            ...headers,
            ...(!isRefused && challenge && { 'www-authenticate': challenge }),
            'content-type': 'application/json',
            pragma: 'no-cache',
        },
        body: response.body.code ? { ...response.body, status, title: TITLES[status] } : response.body,
    };
}

/** What a proxy or a captive portal says in the gateway's place. */
export function html(status, title) {
    return { status, headers: { 'content-type': 'text/html' }, body: `<!doctype html><title>${title}</title><h1>${title}</h1>` };
}

/** The gateway's side of a refresh, as its rules are: for worlds without sockets. The real one is met in the browser tests. */

interface Record_ {
    id: number;
    current: number;
    parent: number;
    acknowledged: boolean;
    rotatedAt: number | undefined;
    isOver: boolean;
}

export class Gateway {
    readonly #sessions = new Map<number, Record_>();
    readonly #options: { leeway: number; lifetime: number; now: () => number };
    /** Refused refreshes of sessions that nobody had ended: false logouts. */
    falseLogouts = 0;
    rotations = 0;
    /** What `/api` was called with. */
    readonly calls: Array<{ at: number; path: string; body: string; status: number; token: string | null }> = [];
    /** Overrides the next answers of `/api`. */
    api: ((request: Request) => Response | undefined) | undefined;
    rotation = true;

    constructor(options: { leeway: number; lifetime: number; now: () => number }) {
        this.#options = options;
    }

    async answer(request: Request): Promise<Response> {
        const { pathname } = new URL(request.url);
        const body = await request.text();
        switch (pathname) {
            case '/login':
            case '/register':
            case '/quick-register':
                return this.#login(JSON.parse(body));
            case '/refresh':
                return this.#refresh(JSON.parse(body).refreshToken);
            case '/logout':
                return this.#logout(JSON.parse(body).refreshToken);
            default:
                return this.#api(request, pathname, body);
        }
    }

    isOver(session: number): boolean {
        return this.#sessions.get(session)?.isOver ?? true;
    }

    /** Ended from another device. */
    end(session: number) {
        const record = this.#sessions.get(session);
        if (record) record.isOver = true;
    }

    #login({ email, password }: { email: string; password: string }): Response {
        if (password !== 'right') return json(401, { error: 'wrong password', code: 'credentials_invalid' });
        const record: Record_ = {
            id: this.#sessions.size + 1,
            current: 1,
            parent: 0,
            acknowledged: false,
            rotatedAt: undefined,
            isOver: false,
        };
        this.#sessions.set(record.id, record);
        return json(200, { user: { id: email }, ...this.#pair(record) });
    }

    /** `rotation::present`. */
    #refresh(token: string | undefined): Response {
        const [, id, generation, parent] = (/^r\.(\d+)\.(\d+)\.(\d+)$/.exec(token ?? '') ?? []).map(Number) as number[];
        const record = this.#sessions.get(id ?? 0);
        if (!record || generation === undefined || parent === undefined) return refused();
        if (record.isOver) return refused();
        const now = this.#options.now();
        if (!this.rotation)
            return json(200, {
                accessToken: this.#access(record),
                tokenType: 'Bearer',
                expiresIn: this.#options.lifetime / 1000,
                generation: record.current,
            });
        const age = record.rotatedAt === undefined ? Infinity : now - record.rotatedAt;
        const lacksCurrent = generation === record.parent && !record.acknowledged;
        if (age < this.#options.leeway && generation >= record.parent) {
            if (lacksCurrent && age >= this.#options.leeway / 3) record.rotatedAt = now;
        } else if (generation === record.current || lacksCurrent) {
            record.parent = generation;
            record.current++;
            record.acknowledged = false;
            record.rotatedAt = now;
            this.rotations++;
        } else {
            record.isOver = true;
            this.falseLogouts++;
            return refused();
        }
        return json(200, this.#pair(record));
    }

    #logout(token: string | undefined): Response {
        const id = Number(token?.split('.')[1]);
        const record = this.#sessions.get(id);
        const ended = record && !record.isOver ? 1 : 0;
        if (record) record.isOver = true;
        return json(200, { ended });
    }

    #api(request: Request, path: string, body: string): Response {
        const token = request.headers.get('authorization');
        const response = this.api?.(request) ?? this.#judge(token, path, body);
        this.calls.push({ at: this.#options.now(), path, body, status: response.status, token });
        return response;
    }

    #judge(token: string | null, path: string, body: string): Response {
        const [, id, generation, end] = (/^Bearer a\.(\d+)\.(\d+)\.(\d+)\./.exec(token ?? '') ?? []).map(Number) as number[];
        const record = this.#sessions.get(id ?? 0);
        if (!token) return json(401, { code: 'token_missing' }, { 'www-authenticate': 'Bearer' });
        if (!record || record.isOver || (end ?? 0) <= this.#options.now()) {
            return json(
                401,
                { code: 'token_expired', error: 'invalid_token' },
                { 'www-authenticate': 'Bearer error="invalid_token"' },
            );
        }
        if (generation === record.current) record.acknowledged = true;
        return json(200, { path, body });
    }

    #pair(record: Record_) {
        const refreshToken = `r.${record.id}.${record.current}.${record.parent}`;
        return {
            accessToken: this.#access(record),
            refreshToken,
            tokenType: 'Bearer',
            expiresIn: this.#options.lifetime / 1000,
            generation: record.current,
        };
    }

    #access(record: Record_): string {
        return `a.${record.id}.${record.current}.${this.#options.now() + this.#options.lifetime}.${++this.#serial}`;
    }

    #serial = 0;
}

export function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
    return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', ...headers } });
}

export function refused(): Response {
    return json(
        401,
        { code: 'refresh_token_invalid', error: 'invalid_grant' },
        { 'www-authenticate': 'Bearer error="invalid_token"' },
    );
}

/** What a browser knows of its login, and which of two such statements is the newer one. Pure. */

/** What is known of a session that lives. Tokens are absent where cookies carry them. */
export interface Session {
    /** Counts the session's refresh tokens; a higher one replaces a lower one. */
    readonly generation: number;
    /** Counts the responses that were taken, of one generation too: one that is asked for again has a younger access token. */
    readonly renewal: number;
    readonly accessToken?: string | undefined;
    readonly refreshToken?: string | undefined;
    /** Seconds that the access token lives, counted from its receipt. Absent: not told. */
    readonly expiresIn?: number | undefined;
    /** When the access token was received, by the wall clock: for other tabs and the next load, which share no other clock. */
    readonly receivedAt: number;
    /** From the login's response. */
    readonly user: unknown;
}

/**
 * The state of one browser: signed in with a session, or signed out.
 *
 * Entries are totally ordered, and every tab keeps the greatest that it has seen: whatever order responses, messages and events arrive
 * in, all tabs end with the same one.
 */
export interface Entry {
    /** Raised by every login and every logout. */
    readonly epoch: number;
    /** Random; settles which of two logins at the same time counts. */
    readonly id: string;
    readonly session?: Session;
}

export const NOTHING: Entry = { epoch: 0, id: '' };

const SIGNED_OUT: Session = { generation: -1, renewal: -1, receivedAt: 0, user: null };

/** How far the wall clock may seem to run backwards before it counts as set back, in milliseconds. */
const WALL_CLOCK_NOISE = 1000;

/** Greater than zero when `a` is the newer one. */
export function compare(a: Entry, b: Entry): number {
    return (
        a.epoch - b.epoch ||
        Number(a.id > b.id) - Number(a.id < b.id) ||
        (a.session ?? SIGNED_OUT).generation - (b.session ?? SIGNED_OUT).generation ||
        (a.session ?? SIGNED_OUT).renewal - (b.session ?? SIGNED_OUT).renewal
    );
}

/** A session of older code, that waits to be exchanged: whether it lives is not known, and no other tab is told of it. */
export function ofOldToken({ epoch, id }: Entry, refreshToken: string): Entry {
    return { epoch, id, session: { ...SIGNED_OUT, renewal: 0, refreshToken, expiresIn: 0 } };
}

/** Whether the gateway has said what the entry says. */
export function isKnown({ session }: Entry): boolean {
    return !session || session.generation >= 0;
}

/** Whether both speak of the same login. */
export function isSameLogin(a: Entry, b: Entry): boolean {
    return a.epoch === b.epoch && a.id === b.id;
}

/**
 * How old the access token of an entry from elsewhere is, in milliseconds. When the wall clock was set back since, nobody can
 * tell, and it counts as spent.
 */
export function ageOf(session: Session, wall: number): number {
    const age = wall - session.receivedAt;
    return age < -WALL_CLOCK_NOISE ? Infinity : Math.max(age, 0);
}

/** Reads what was stored or sent by whatever version of this code; `undefined` when it is no entry. */
export function parse(value: unknown): Entry | undefined {
    const entry = value as Entry | null | undefined;
    if (!entry) return undefined;
    const { epoch, id, session } = entry;
    const { generation, renewal, receivedAt, expiresIn = 0, accessToken = '', refreshToken = '' } = session ?? SIGNED_OUT;
    const areNumbers = [epoch, generation, renewal, receivedAt, expiresIn].every(Number.isFinite);
    const areTexts = [id, accessToken, refreshToken].every((text) => typeof text === 'string');
    return areNumbers && areTexts ? entry : undefined;
}

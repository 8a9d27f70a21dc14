/** The list of the user's sessions. */

import type { Device } from '../src/index.js';
import { at, element } from './dom.js';

const BROWSERS = [
    ['Edg/', 'Edge'],
    ['OPR/', 'Opera'],
    ['Firefox/', 'Firefox'],
    ['Chrome/', 'Chrome'],
    ['Safari/', 'Safari'],
    ['curl/', 'curl'],
] as const;
const SYSTEMS = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS X', 'CrOS', 'Linux'];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

export function showDevices(devices: Device[], end: (id: string) => Promise<void>) {
    const newestFirst = devices.toSorted(
        (a, b) => Number(b.current) - Number(a.current) || b.lastUsedAt.localeCompare(a.lastUsedAt),
    );
    at('devices').replaceChildren(...newestFirst.map((device) => line(device, end)));
}

function line(device: Device, end: (id: string) => Promise<void>): HTMLElement {
    const name = element('p', { className: 'name', text: nameOf(device.userAgent) });
    if (device.current) name.append(element('small', { text: 'this browser' }));
    const times = `Logged in ${since(device.createdAt)}, refreshed ${since(device.lastUsedAt)}${device.address ? `, from ${device.address}` : ''}`;
    const item = element('li', {}, element('div', {}, name, element('p', { text: times })));
    if (!device.current) {
        const button = element('button', { className: 'danger', text: 'End this session' }) as HTMLButtonElement;
        button.type = 'button';
        button.onclick = () => {
            button.disabled = true;
            void end(device.id);
        };
        item.append(button);
    }
    return item;
}

function nameOf(userAgent = ''): string {
    const browser = BROWSERS.find(([mark]) => userAgent.includes(mark))?.[1];
    const system = SYSTEMS.find((mark) => userAgent.includes(mark));
    return [browser ?? 'Unknown program', system].filter(Boolean).join(' on ');
}

function since(date: string): string {
    const seconds = Math.round((Date.parse(date) - Date.now()) / 1000);
    if (seconds > -5) return 'just now';
    if (seconds > -60) return relative.format(Math.min(seconds, 0), 'second');
    if (seconds > -3600) return relative.format(Math.round(seconds / 60), 'minute');
    return relative.format(Math.round(seconds / 3600), 'hour');
}

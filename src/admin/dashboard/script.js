// Asks /stats every few seconds and draws what it says. Everything shown is set as text, never as markup.
'use strict';

const DAYS = 30;
const PAUSE_MILLIS = 10_000;
const SVG = 'http://www.w3.org/2000/svg';

const sum = (...names) => (day) => names.reduce((total, name) => total + (day.counts[name] ?? 0), 0);
const total = (prefix) => (day) =>
  Object.entries(day.counts).reduce((all, [name, n]) => all + (name.startsWith(prefix) ? n : 0), 0);
const measured = (name) => (day) => day.measured?.[name];

const logins = sum('logins', 'registrations', 'quick_registrations');
const refreshes = sum('refreshes_rotated', 'refreshes_reissued', 'refreshes_superseded', 'refreshes_adopted');
const refused = (day) => total('refreshes_')(day) - refreshes(day);
const revocations = (day) => total('revocations_by_')(day) + sum('revocations_of_everyone')(day);
const rejected = (day) => total('rejected_')(day) + sum('rate_limited')(day);

const TODAY = [
  ['logins', logins], ['refreshes', refreshes], ['refreshes refused', refused], ['tokens reused', sum('refreshes_reused')],
  ['logouts', sum('logouts')], ['revocations', revocations], ['sessions expired', (day) => day.expired],
  ['requests forwarded', sum('requests_forwarded')], ['requests rejected', rejected],
];
const CHARTS = [
  ['Live sessions', measured('sessions'), 'one'], ['Logins', logins, 'one'], ['Refreshes', refreshes, 'two'],
  ['Logouts', sum('logouts'), 'two'], ['Sessions expired', (day) => day.expired, 'two'], ['Requests rejected', rejected, 'three'],
];
const COLUMNS = [
  ['logins', logins], ['refreshes', refreshes], ['refused', refused], ['logouts', sum('logouts')], ['revocations', revocations],
  ['expired', (day) => day.expired], ['forwarded', sum('requests_forwarded')], ['rejected', rejected],
  ['sessions', measured('sessions')], ['subjects', measured('subjects')],
];

const at = (id) => document.getElementById(id);
const number = (n) => (n === undefined || n === null ? '–' : n.toLocaleString('en'));

/// For a tile: from ten millions on only their size counts.
const short = (n) => (n >= 1e7 ? n.toLocaleString('en', { notation: 'compact', maximumFractionDigits: 1 }) : number(n));

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== '') made.textContent = text;
  made.append(...children);
  return made;
}

function drawing(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function bytes(n) {
  if (n === undefined) return '–';
  const unit = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let step = 0;
  for (; n >= 1024 && step < unit.length - 1; step += 1) n /= 1024;
  return `${n.toFixed(n < 10 && step > 0 ? 1 : 0)} ${unit[step]}`;
}

function span(micros) {
  if (micros === undefined) return '–';
  return micros < 1e6 ? `${(micros / 1e3).toFixed(1)} ms` : `${(micros / 1e6).toFixed(1)} s`;
}

function tiles(list, entries) {
  at(list).replaceChildren(...entries.map(([name, text]) => {
    const value = element('dd', text);
    if (text === '–') value.className = 'none';
    return element('div', '', element('dt', name), value);
  }));
}

/// One bar for each day; days of which nothing is known leave a gap.
function chart([title, value, colour], days) {
  const values = days.map(value);
  const top = Math.max(1, ...values.map((n) => n ?? 0));
  const svg = drawing('svg', { viewBox: `0 0 ${DAYS * 10} 100`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title });
  svg.append(drawing('line', { x1: 0, y1: 100, x2: DAYS * 10, y2: 100 }));
  const bars = drawing('g', { class: colour });
  values.forEach((n, i) => {
    if (!n) return;
    const height = Math.max(1, (n / top) * 92);
    const bar = drawing('rect', { x: i * 10 + 1, y: 100 - height, width: 8, height, rx: 1 });
    const title = drawing('title', {});
    title.textContent = `${days[i].day}: ${number(n)}`;
    bar.append(title);
    bars.append(bar);
  });
  svg.append(bars);
  const caption = element('figcaption', '', element('b', title), element('span', `most ${number(top === 1 ? Math.max(0, ...values.map((n) => n ?? 0)) : top)}`));
  const axis = element('div', '', element('span', days[0].day), element('span', days.at(-1).day));
  axis.className = 'axis';
  return element('figure', '', caption, svg, axis);
}

/// Every one of the last days, those that the store has nothing of too.
function lastDays(stats) {
  const known = new Map(stats.days.map((day) => [day.day, day]));
  const today = Date.parse(stats.today);
  return Array.from({ length: DAYS }, (_, i) => {
    const day = new Date(today - (DAYS - 1 - i) * 86_400_000).toISOString().slice(0, 10);
    return known.get(day) ?? { day, counts: {}, expired: 0, measured: null };
  });
}

function show(stats) {
  const days = lastDays(stats);
  const now = stats.lastMeasurement ?? {};
  const node = stats.node.measured;
  tiles('gauges', [
    ['live sessions', number(now.sessions)], ['subjects', number(now.subjects)],
    ['revocations in the log', number(now.log_entries)], ['in this replica', number(node.replica_entries)],
    ['revocation lag, p99', span(node.revocation_lag_p99_micros)], ['store', bytes(now.store_bytes)],
  ]);
  at('date').textContent = `${stats.today}, UTC`;
  tiles('today', TODAY.map(([name, value]) => [name, short(value(days.at(-1)))]));
  at('charts').replaceChildren(...CHARTS.map((one) => chart(one, days)));
  const head = element('tr', '', element('th', 'day'), ...COLUMNS.map(([name]) => element('th', name)));
  const rows = stats.days.toReversed().map((day) =>
    element('tr', '', element('td', day.day), ...COLUMNS.map(([, value]) => element('td', number(value(day))))));
  at('table').replaceChildren(element('thead', '', head), element('tbody', '', ...rows));
  const sweep = stats.lastSweep;
  at('sweep').textContent = sweep
    ? `Last sweep ${sweep.beganAt}: ${number(sweep.sessions)} sessions, ${number(sweep.orphans)} orphans, `
      + `${number(sweep.revocations)} revocations in ${number(sweep.tookMillis)} ms.`
    : 'No sweep yet.';
}

function say(text, bad = false) {
  at('state').textContent = text;
  at('state').className = bad ? 'bad' : '';
}

let token = '';

async function ask() {
  const headers = token === '' ? {} : { authorization: `Bearer ${token}` };
  let answer;
  try {
    answer = await fetch(`stats?days=${DAYS}`, { headers, cache: 'no-store', signal: AbortSignal.timeout(PAUSE_MILLIS) });
  } catch {
    return say('the gateway does not answer; the figures below are old', true);
  }
  at('sign-in').hidden = answer.status !== 401;
  if (answer.status === 401) return say(token === '' ? '' : 'that is not the token', true);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) return say(body.detail ?? `status ${answer.status}`, true);
  show(body);
  at('figures').hidden = false;
  say(`as of ${new Date().toLocaleTimeString()}`);
}

async function askForEver() {
  if (!document.hidden) await ask();
  setTimeout(askForEver, PAUSE_MILLIS);
}

at('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  token = at('token').value;
  ask();
});
document.addEventListener('visibilitychange', () => { if (!document.hidden) ask(); });
askForEver();

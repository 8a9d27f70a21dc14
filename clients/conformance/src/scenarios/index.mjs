import processes from './processes.mjs';
import refreshes from './refreshes.mjs';
import requests from './requests.mjs';
import surroundings from './surroundings.mjs';

export const SCENARIOS = [...requests, ...refreshes, ...processes, ...surroundings];

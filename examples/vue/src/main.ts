import { createClient } from 'tokengate-client';
import { tokengate } from 'tokengate-client/vue';
import { createApp } from 'vue';

import App from './App.vue';

// The page comes from the gateway's own origin, so its cookies need no more than this.
const client = createClient({ storage: 'cookie' });

createApp(App).use(tokengate(client)).mount('#app');

import { createApp, h } from 'vue';
import { createClient } from 'tokengate-client';
import { tokengate, useAuth } from 'tokengate-client/vue';

const Greeting = {
  setup() {
    const { status, user, login, logout } = useAuth();
    return () => {
      if (status.value === 'unknown') return null;
      if (status.value === 'signed-in') return h('button', { onClick: () => logout() }, `Log out ${user.value?.name}`);
      return h('button', { onClick: () => login({ email: 'ada@example.com', password: '…' }) }, 'Log in');
    };
  },
};

export const app = createApp(Greeting).use(tokengate(createClient({ baseUrl: 'https://api.example.com' })));

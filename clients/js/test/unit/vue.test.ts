import { type Component, createRenderer, createSSRApp, defineComponent, h, nextTick } from 'vue';
import { renderToString } from 'vue/server-renderer';
import { describe, expect, test } from 'vitest';

import { tokengate, useAuth } from '../../src/vue.js';
import { World, settled } from './world.js';

interface Node_ {
    text: string;
    children: Node_[];
    parent?: Node_ | undefined;
}

/** Vue without a document. */
const { createApp } = createRenderer<Node_, Node_>({
    createElement: () => ({ text: '', children: [] }),
    createText: (text) => ({ text, children: [] }),
    createComment: () => ({ text: '', children: [] }),
    setText: (node, text) => void (node.text = text),
    setElementText: (node, text) => void (node.children = [{ text, children: [] }]),
    insert(child, parent) {
        child.parent = parent;
        parent.children.push(child);
    },
    remove: (child) => void child.parent?.children.splice(child.parent.children.indexOf(child), 1),
    parentNode: (node) => node.parent ?? null,
    nextSibling: () => null,
    patchProp: () => undefined,
});

const textOf = (node: Node_): string => node.text + node.children.map(textOf).join('');

const Who: Component = defineComponent(() => {
    const { status, user } = useAuth<{ id: string }>();
    return () => h('p', `${status.value} ${user.value?.id ?? ''}`.trim());
});

const ADA = { email: 'ada@example.com', password: 'right' };

describe('useAuth for Vue', () => {
    test('shows who is signed in, and follows', async () => {
        const world = new World();
        const { client } = world.tab();
        const root: Node_ = { text: '', children: [] };
        const app = createApp(Who).use(tokengate(client));
        app.mount(root);
        await nextTick();
        expect(textOf(root)).toBe('signed-out');
        await settled(world, client.login(ADA));
        await nextTick();
        expect(textOf(root)).toBe('signed-in ada@example.com');
        await settled(world, client.logout());
        await nextTick();
        expect(textOf(root)).toBe('signed-out');
        app.unmount();
    });

    test('stops following when the application is unmounted', async () => {
        const world = new World();
        const { client } = world.tab();
        let followers = 0;
        const counted = {
            ...client,
            subscribe(listener: () => void) {
                followers++;
                const stop = client.subscribe(listener);
                return () => (followers--, stop());
            },
        };
        const app = createApp(defineComponent(() => () => h('main', [h(Who), h(Who)]))).use(tokengate(counted));
        app.mount({ text: '', children: [] });
        expect(followers).toBe(1);
        app.unmount();
        expect(followers).toBe(0);
    });

    test('knows nothing on the server, and subscribes to nothing there', async () => {
        const world = new World();
        const { client } = world.tab();
        await settled(world, client.login(ADA));
        const subscribe = () => expect.fail('subscribed');
        const app = createSSRApp(Who).use(tokengate({ ...client, subscribe }));
        expect(await renderToString(app)).toBe('<p>unknown</p>');
    });

    test('says what is missing', () => {
        const app = createApp(Who);
        app.config.warnHandler = () => undefined;
        expect(() => app.mount({ text: '', children: [] })).toThrow('app.use(tokengate(client))');
    });
});

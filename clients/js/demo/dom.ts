/** The parts of the page, by name. */

export function at<T extends HTMLElement = HTMLElement>(id: string): T {
    const element = document.getElementById(id);
    if (!element) throw new Error(`The page has no ${id}.`);
    return element as T;
}

/** A new element. What it says is text, never markup. */
export function element(name: string, properties: { className?: string; text?: string } = {}, ...children: Node[]): HTMLElement {
    const made = document.createElement(name);
    if (properties.className) made.className = properties.className;
    if (properties.text !== undefined) made.textContent = properties.text;
    made.append(...children);
    return made;
}

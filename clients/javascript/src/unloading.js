const LEFT = 1000; // milliseconds after which a page that still runs was not left

/**
 * Distinguishes a connection that ably-js closed because the page was about to be left from one that somebody closed.
 * By default ably-js closes it on `beforeunload`, which also comes before a `mailto:` link, a download, or a navigation
 * that is cancelled: the page stays.
 * Call `closing` when the connection begins to close. `closedIt` is known `after` that many milliseconds.
 */
export function unloading() {
  let closingAt = -Infinity;
  let unloadAt = -Infinity;
  const onUnload = () => (unloadAt = performance.now());
  globalThis.addEventListener?.('beforeunload', onUnload);
  return {
    after: LEFT,
    closing: () => (closingAt = performance.now()),
    closedIt: () => Math.abs(unloadAt - closingAt) < LEFT,
    end: () => globalThis.removeEventListener?.('beforeunload', onUnload),
  };
}

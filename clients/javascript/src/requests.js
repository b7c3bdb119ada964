/**
 * Returns the result of `action`. Rejects when it makes no progress for `milliseconds`, or once the signal `closed` is
 * aborted.
 * `action` gets a signal that is aborted when the attempt ends, and `progress`, which restarts the timer and may change
 * its length.
 */
export async function within({ milliseconds, what, closed }, action) {
  const attempt = new AbortController();
  const { signal } = attempt;
  let fail;
  let timer;
  const failed = new Promise((_, reject) => (fail = reject));
  const progress = (limit = milliseconds) => {
    clearTimeout(timer);
    timer = setTimeout(() => fail(new Error(`${what}: no answer within ${limit} ms`)), limit);
  };
  const onClose = () => fail(new Error('The stream was closed'));
  progress();
  if (closed.aborted) onClose();
  closed.addEventListener('abort', onClose, { signal });
  try {
    return await Promise.race([failed, action(signal, progress)]);
  } finally {
    clearTimeout(timer);
    attempt.abort();
  }
}

import { useChat } from '@ai-sdk/react';
import { messageOf, TokenstreamChatTransport } from '@tokenstream/client/ai-sdk';
import { useResponses } from '@tokenstream/client/react';
import { useEffect, useRef, useState } from 'react';
import { Message } from './Message.jsx';

const OPTIONS = { api: '/v1', limit: 100 };

/** The app keeps the questions, and the id of each answer; tokenstream keeps the answers. */
async function turnsOf(chatId) {
  const answer = await fetch(`/turns?chat=${encodeURIComponent(chatId)}`);
  return answer.json();
}

/** The messages of a chat without the answer that is still being written: `useChat` resumes that one. */
function messagesOf(turns, responses) {
  const finished = new Map(responses.filter(({ status }) => status !== 'streaming').map((response) => [response.id, response]));
  return turns.flatMap(({ message, responseId }) => {
    const response = finished.get(responseId);
    return response ? [message, messageOf(response)] : [message];
  });
}

function transportFor(source) {
  return new TokenstreamChatTransport({
    source,
    ...OPTIONS,
    send: ({ responseId, chatId, messages, trigger, signal }) =>
      fetch('/chat', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ responseId, chatId, messages, trigger }),
        signal,
      }),
  });
}

/** Loads what there is, then shows the chat. */
export function Page({ chatId, source }) {
  const { responses, state, error } = useResponses(source, OPTIONS);
  const [transport] = useState(() => transportFor(source));
  const [turns, setTurns] = useState(null);
  const [first, setFirst] = useState(null);
  useEffect(() => {
    turnsOf(chatId).then(setTurns);
  }, [chatId]);
  if (!first && turns && state === 'live') setFirst(messagesOf(turns, responses));
  if (!first) return <p className="note">{error ? error.message : 'Loading'}</p>;
  return <Chat {...{ chatId, transport, responses, state, first }} />;
}

function Chat({ chatId, transport, responses, state, first }) {
  const { messages, sendMessage, setMessages, resumeStream, regenerate, stop, status, error } = useChat({ id: chatId, transport, messages: first, resume: true });
  const [text, setText] = useState('');
  const isBusy = status === 'submitted' || status === 'streaming';
  useAnswersFromElsewhere({ chatId, responses, messages, isBusy, setMessages, resumeStream });
  const send = (event) => {
    event.preventDefault();
    if (!text.trim() || isBusy) return;
    sendMessage({ text });
    setText('');
  };
  return (
    <>
      <ol className="messages">
        {messages.map((message) => (
          <Message key={message.id} message={message} />
        ))}
      </ol>
      {error && <p className="note error">{error.message}</p>}
      <form onSubmit={send}>
        <input aria-label="Your message" value={text} onChange={(event) => setText(event.target.value)} autoFocus />
        {isBusy ? (
          <button type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button type="submit">Send</button>
        )}
        <button type="button" disabled={isBusy || messages.length === 0} onClick={() => regenerate()}>
          Again
        </button>
      </form>
      <p className="note" data-state={state} data-status={status}>
        {state}
      </p>
    </>
  );
}

/** `useChat` shows what it asked for itself; answers to questions asked in another tab are taken over here. */
function useAnswersFromElsewhere({ chatId, responses, messages, isBusy, setMessages, resumeStream }) {
  const known = useRef(new Set());
  for (const { id } of messages) known.current.add(id);
  const unknown = isBusy ? undefined : responses.find(({ id }) => !known.current.has(id));
  const latest = useRef(responses);
  useEffect(() => {
    latest.current = responses;
  });
  useEffect(() => {
    if (!unknown) return undefined;
    let isCurrent = true;
    turnsOf(chatId).then((turns) => {
      if (!isCurrent) return;
      // One that streams is known once it is shown: it may end before it is resumed, and is taken from its record then.
      for (const { id, status } of latest.current) if (status !== 'streaming') known.current.add(id);
      setMessages(messagesOf(turns, latest.current));
      if (latest.current.some(({ status }) => status === 'streaming')) resumeStream();
    });
    return () => {
      isCurrent = false;
    };
  }, [unknown?.id, unknown?.status, chatId, setMessages, resumeStream]);
}

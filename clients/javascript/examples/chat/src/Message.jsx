import { memo } from 'react';

/** What can be shown of a message. React escapes the text: it comes from outside. */
export const Message = memo(function Message({ message }) {
  return (
    <li className={message.role} data-id={message.id}>
      {message.parts.map((part, index) => (
        <Part key={index} part={part} />
      ))}
    </li>
  );
});

function Part({ part }) {
  if (part.type === 'text') return <p className="text">{part.text}</p>;
  if (part.type === 'reasoning') {
    return (
      <details className="reasoning">
        <summary>{part.state === 'streaming' ? 'Thinking' : 'Thoughts'}</summary>
        <p>{part.text}</p>
      </details>
    );
  }
  if (!part.type.startsWith('tool-')) return null;
  return (
    <details className="tool" open>
      <summary>{part.type.slice('tool-'.length)}</summary>
      <pre>{JSON.stringify(part.input, null, 2)}</pre>
    </details>
  );
}

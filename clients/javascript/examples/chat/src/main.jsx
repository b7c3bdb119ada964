import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Page } from './Page.jsx';
import { sourceFor } from './source.js';
import './styles.css';

const chatId = location.hash.slice(1) || 'demo';
addEventListener('hashchange', () => location.reload());

const source = await sourceFor(chatId);
createRoot(document.getElementById('root')).render(
  <StrictMode>
    <Page chatId={chatId} source={source} />
  </StrictMode>,
);

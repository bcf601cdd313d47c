import { afterAll, describe } from 'vitest';
import { setThreads } from '../../src/index';
import { writePrograms } from '../docs/blocks';
import { runEach } from '../docs/run';

describe('code blocks on threads', () => {
  runEach(writePrograms('threads').filter(({ name }) => name.startsWith('docs/guide/threads')));
  afterAll(() => setThreads(1));
});

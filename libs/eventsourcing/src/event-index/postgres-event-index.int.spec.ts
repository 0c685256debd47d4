import { describeEventIndex } from '../testing/event-index-suite.js';
import { startTestPostgres } from '../testing/test-postgres.js';
import { PostgresEventIndex } from './postgres-event-index.js';

describeEventIndex('PostgreSQL', async () => {
  const server = await startTestPostgres();
  const url = await server.database();
  let made = 0;
  const again = async () => {
    const index = new PostgresEventIndex({ url, schema: `index${made}`, rule: 'spec' });
    await index.prepare();
    return index;
  };
  return {
    fresh: () => {
      made++;
      return again();
    },
    again,
    close: () => server.stop(),
  };
});

import type { Table } from '../read-model.js';
import { describeHistory } from '../testing/history-suite.js';
import { startTestPostgres } from '../testing/test-postgres.js';
import { PostgresHistory } from './postgres-history.js';

describeHistory('PostgreSQL', async () => {
  const server = await startTestPostgres();
  const url = await server.database();
  let schema = '';
  let tables: Table<never>[] = [];
  let made = 0;
  const again = async () => {
    const history = new PostgresHistory({ url, schema });
    await history.prepare(tables);
    return history;
  };
  return {
    fresh: (...wanted) => {
      schema = `past${made++}`;
      tables = wanted;
      return again();
    },
    again,
    close: () => server.stop(),
  };
});

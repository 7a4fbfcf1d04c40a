// The oldest SillyTavern that is supported, with the extension for one user.
import { OLDEST } from './support/sillytavern.mjs';
import { scenarios } from './scenarios.mjs';

scenarios(OLDEST, (data) => ['--user', 'default-user', '--data-root', data]);

// SillyTavern of today, with the extension for all of its users.
import { NEWEST } from './support/sillytavern.mjs';
import { scenarios } from './scenarios.mjs';

scenarios(NEWEST, () => []);

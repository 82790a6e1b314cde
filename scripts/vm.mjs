#!/usr/bin/env node
// `npx vm` in a checkout: works before anything has been installed.
import { ensureInstalled } from './setup.mjs';

ensureInstalled();
await import('../packages/cli/bin/vm.mjs');

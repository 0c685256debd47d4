import { HyperVSettings } from './hyperv/hyperv-config.js';

/** Environment that single drivers read. */
export const driverSettings = { ...HyperVSettings.shape };

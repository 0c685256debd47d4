import { HyperVSettings } from './hyperv/hyperv-config.js';
import { XenServerSettings } from './xenserver/xenserver-config.js';

/** Environment that single drivers read. */
export const driverSettings = { ...HyperVSettings.shape, ...XenServerSettings.shape };

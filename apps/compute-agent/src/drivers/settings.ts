import { HyperVSettings } from './hyperv/hyperv-config.js';
import { VsphereSettings } from './vsphere/vsphere-config.js';
import { XenSettings } from './xen/xen-config.js';
import { XenServerSettings } from './xenserver/xenserver-config.js';

/** Environment that single drivers read. */
export const driverSettings = {
  ...HyperVSettings.shape,
  ...XenSettings.shape,
  ...XenServerSettings.shape,
  ...VsphereSettings.shape,
};

/**
 * Removes all that a demo has made. It is found by its name, so that what the demo asked for and did not live to hear
 * of goes too, and doing it twice is harmless.
 * @param {import('../start/client.mjs').Client} demo
 * @param {string} name of the demo's server, security group and keypair
 */
export const cleanUp = async (demo, name) => {
  const { servers } = await demo.get('compute', `/servers?name=${encodeURIComponent(`^${name}$`)}`);
  for (const { id } of servers) {
    await demo.delete('compute', `/servers/${id}`);
    await demo.until('the server to be gone', 30_000, () => gone(demo.get('compute', `/servers/${id}`)));
    const ports = async () => (await demo.get('network', `/ports?device_id=${id}`)).ports;
    await demo.until('its ports to be gone', 30_000, async () => (await ports()).length === 0);
  }
  const groups = await demo.get('network', `/security-groups?name=${encodeURIComponent(name)}`);
  for (const { id } of groups.security_groups) await demo.delete('network', `/security-groups/${id}`);
  await gone(demo.delete('compute', `/os-keypairs/${name}`));
};

/** True when the API answers 404, false when it answers. */
const gone = (request) =>
  request.then(
    () => false,
    (error) => {
      if (error.status !== 404) throw error;
      return true;
    },
  );

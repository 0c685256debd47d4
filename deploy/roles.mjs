/** Logins of the services at PostgreSQL: each may append to its own streams and owns the schema of its read model. */
export const ROLES = [
  { service: 'api-gateway', role: 'omnivisor_gateway', schema: 'gateway' },
  { service: 'scheduler', role: 'omnivisor_scheduler', schema: 'scheduler' },
  { service: 'image-service', role: 'omnivisor_image', schema: 'image' },
];

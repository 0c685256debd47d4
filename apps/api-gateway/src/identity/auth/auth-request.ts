import { z } from 'zod';

const id = z.string().max(255);
const name = z.string().max(255);
const DomainRef = z.looseObject({ id: id.optional(), name: name.optional() });
export type DomainRef = { id?: string | undefined; name?: string | undefined };
const UserRef = z.looseObject({ id: id.optional(), name: name.optional(), domain: DomainRef.optional() });
export type UserRef = { id?: string | undefined; name?: string | undefined; domain?: DomainRef | undefined };

const Scope = z.union([
  z.literal('unscoped'),
  z.looseObject({
    project: z.looseObject({ id: id.optional(), name: name.optional(), domain: DomainRef.optional() }).optional(),
    domain: DomainRef.optional(),
    system: z.looseObject({ all: z.literal(true) }).optional(),
    unscoped: z.looseObject({}).optional(),
  }),
]);

/** Body of `POST /v3/auth/tokens`. */
export const AuthBody = z.looseObject({
  auth: z.looseObject({
    identity: z.looseObject({
      methods: z.array(z.string()).min(1),
      password: z.looseObject({ user: z.looseObject({ ...UserRef.shape, password: z.string() }) }).optional(),
      token: z.looseObject({ id: z.string().max(2048) }).optional(),
      application_credential: z
        .looseObject({ id: id.optional(), name: name.optional(), secret: z.string(), user: UserRef.optional() })
        .optional(),
    }),
    scope: Scope.optional(),
  }),
});
export type AuthRequest = z.infer<typeof AuthBody>['auth'];
export type ScopeRequest = z.infer<typeof Scope>;
